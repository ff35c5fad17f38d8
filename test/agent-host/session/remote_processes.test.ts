/** What a guest is asked about its processes: the oldest first, and not without end. */
import { expect, test } from "bun:test";
import {
  RemoteProcesses,
  WANTED_ADDRESSES_MAX,
  WANTED_PROCESSES_MAX,
} from "../../../agent-host/session/remote_processes.ts";
import type { CodeMapping } from "../../../shared/symbol/process_maps.ts";

const FILES = 10;
const mapping = (file: number): CodeMapping => ({
  start: 0,
  end: 2 ** 40,
  fileOffset: 0,
  file: `fe:01 ${file}`,
  path: `/lib/${file}.so`,
  isDeleted: false,
});
const MAPPINGS = Array.from({ length: FILES }, (_, i) => mapping(i));

function asking(): RemoteProcesses {
  const remote = new RemoteProcesses();
  remote.canAsk = true;
  return remote;
}

/** All that is asked until nothing is wanted any more. */
function askedBy(remote: RemoteProcesses) {
  const pids: number[] = [];
  const addresses: bigint[] = [];
  for (let asked = remote.takeRequest(); asked !== undefined; asked = remote.takeRequest()) {
    pids.push(...asked.mapsOf);
    addresses.push(...asked.code.flatMap((code) => code.addresses));
    remote.onEnd();
  }
  return { pids, addresses };
}

test("mappingsOf() asks about each process once, oldest first, and about a bounded number", () => {
  const remote = asking();
  for (let pid = 0; pid < 20_000; pid++) {
    const isAsked = pid < WANTED_PROCESSES_MAX;
    expect(remote.mappingsOf(pid)).toBe(isAsked ? "pending" : undefined);
  }
  expect(remote.mappingsOf(7)).toBe("pending");
  const { pids } = askedBy(remote);
  expect(pids).toEqual(Array.from({ length: WANTED_PROCESSES_MAX }, (_, pid) => pid));
  expect(remote.mappingsOf(19_999)).toBe("pending");
});

test("symbolAt() asks about each address once, and about a bounded number over all files", () => {
  const remote = asking();
  const symbolAt = (i: number) => remote.symbolAt(1, MAPPINGS[i % FILES]!, i);
  for (let i = 0; i < 2 * WANTED_ADDRESSES_MAX; i++) {
    expect(symbolAt(i)).toBe(i < WANTED_ADDRESSES_MAX ? "pending" : undefined);
  }
  expect(symbolAt(3)).toBe("pending");
  const { addresses } = askedBy(remote);
  expect(new Set(addresses).size).toBe(WANTED_ADDRESSES_MAX);
  expect(addresses).toHaveLength(WANTED_ADDRESSES_MAX);
  // Those have no name; there is room for others now.
  expect(symbolAt(3)).toBeUndefined();
  expect(symbolAt(WANTED_ADDRESSES_MAX)).toBe("pending");
});

test("symbolAt() has room again when files beyond count have had all of them forgotten", () => {
  const remote = asking();
  for (let i = 0; i < WANTED_ADDRESSES_MAX; i++) remote.symbolAt(1, MAPPINGS[0]!, i);
  for (let file = 1; file < 4096; file++) remote.symbolAt(1, mapping(file), 0);
  expect(remote.symbolAt(1, mapping(4096), 0)).toBe("pending");
  expect(askedBy(remote).addresses).toEqual([0n]);
});
