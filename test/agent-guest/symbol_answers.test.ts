/** What a guest answers about addresses: of bounded size, and only what there is reason to ask. */
import { describe, expect, test } from "bun:test";
import {
  answerSymbols,
  permittedRequest,
  REQUEST_PROCESSES_MAX,
} from "../../agent-guest/symbol_answers.ts";
import type { EventSet } from "../../shared/event/event_set.ts";
import { parseCodeMappings } from "../../shared/symbol/process_maps.ts";

const CODE = {
  pid: process.pid,
  start: 0x1000n,
  end: 0x2000n,
  fileOffset: 0n,
  file: "fe:01 1",
  path: new TextEncoder().encode("/etc/shadow"),
  addresses: [0x1000n, 2n ** 64n - 1n],
};

describe("answerSymbols", () => {
  test("answerSymbols() tells what a process has mapped, and that another one is gone", () => {
    const request = { kernel: false, mapsOf: [process.pid, 2 ** 31 - 1], code: [] };
    const answers = [...answerSymbols(7, request)];
    expect(answers.map(({ id }) => id)).toEqual([7, 7, 7]);
    expect(answers.at(-1)!.end).toBe(true);
    const text = new TextDecoder().decode(answers[0]!.maps[0]!.text);
    expect(parseCodeMappings(text).some(({ path }) => path === "[vdso]")).toBe(true);
    expect(answers[1]!.maps).toEqual([{ pid: 2 ** 31 - 1 }]);
  });

  test("answerSymbols() names nothing in a file that the inode is not of", () => {
    const answers = [...answerSymbols(7, { kernel: false, mapsOf: [], code: [CODE] })];
    expect(answers.flatMap(({ functions }) => functions)).toEqual([]);
    expect(answers.at(-1)!.end).toBe(true);
  });

  test("answerSymbols() answers a bounded part of an endless request", () => {
    const mapsOf = new Array<number>(10_000).fill(2 ** 31 - 1);
    const answers = [...answerSymbols(7, { kernel: false, mapsOf, code: [] })];
    expect(answers.length).toBe(REQUEST_PROCESSES_MAX + 1);
  });

  test("permittedRequest() leaves processes out unless events sample their chains", () => {
    const request = { kernel: true, mapsOf: [1], code: [CODE] };
    const setOf = (hasUserChains: boolean) => ({ hasUserChains }) as EventSet;
    expect(permittedRequest(request, setOf(true))).toEqual(request);
    expect(permittedRequest(request, setOf(false))).toEqual({ kernel: true, mapsOf: [], code: [] });
  });
});
