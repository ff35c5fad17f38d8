/** Keeps every core of this machine busy while a test runs. */
import { type ChildProcess, spawn } from "node:child_process";
import { cpus } from "node:os";

/** `await using load = busyCores();` */
export function busyCores(): AsyncDisposable {
  const children: ChildProcess[] = cpus().map(() =>
    spawn("/bin/sh", ["-c", "while :; do :; done"], { stdio: "ignore" }),
  );
  return {
    async [Symbol.asyncDispose](): Promise<void> {
      const ends = children.map((child) => new Promise((resolve) => child.once("exit", resolve)));
      for (const child of children) child.kill("SIGKILL");
      await Promise.all(ends);
    },
  };
}
