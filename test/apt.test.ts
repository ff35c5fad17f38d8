/** Packages that tests need: what is there, and what is said when it may not be fetched. */
import { expect, test } from "bun:test";
import { aptRefusal, findProgram, packagesProblem } from "./apt.ts";

test("packagesProblem() is empty for what is there, by program or by file", () => {
  expect(
    packagesProblem([
      { name: "dash", program: "sh" },
      { name: "base-files", files: ["/nonexistent", "/etc/passwd"] },
    ]),
  ).toBe("");
});

test("packagesProblem() names what is missing and how to install it", () => {
  const before = process.env.VMSPAN_NO_INSTALL;
  process.env.VMSPAN_NO_INSTALL = "1";
  try {
    expect(packagesProblem([{ name: "no-such-package", program: "no-such-program" }])).toBe(
      "no no-such-package here, and VMSPAN_NO_INSTALL=1 forbids fetching them, " +
        "wanted: apt-get install --no-install-recommends no-such-package",
    );
    expect(aptRefusal(false)).toContain("VMSPAN_NO_INSTALL");
  } finally {
    if (before === undefined) delete process.env.VMSPAN_NO_INSTALL;
    else process.env.VMSPAN_NO_INSTALL = before;
  }
});

test("findProgram() looks in the administrator's folders too", () => {
  expect(findProgram("sh")).toMatch(/\/sh$/);
  expect(findProgram("no-such-program")).toBeUndefined();
});
