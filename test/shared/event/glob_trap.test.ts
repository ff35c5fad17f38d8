/** Globs that the kernel misreads are told, those that it reads rightly are not. */
import { expect, test } from "bun:test";
import { globTraps } from "../../../shared/event/glob_trap.ts";

const FORMAT = `name: x
ID: 1
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;

\tfield:char comm[16];\toffset:8;\tsize:16;\tsigned:0;
\tfield:__data_loc char[] name;\toffset:24;\tsize:4;\tsigned:0;
\tfield:int pid;\toffset:28;\tsize:4;\tsigned:1;

print fmt: "%s", REC->comm
`;

const trapsOf = (filter: string): string[] =>
  globTraps([{ system: "s", name: "x", filter, formatText: FORMAT }]);

test("globTraps() tells of *x and *x* on an array of fixed size, and how to write them", () => {
  expect(trapsOf('comm~"*sh"')).toEqual([
    'HINT: the kernel looks for comm~"*sh" of s:x at the end of the array; comm~"*[s]h" it reads as it is meant',
  ]);
  expect(trapsOf('pid>1 && (comm ~ "*put*" || comm=="a")')).toEqual([
    'HINT: the kernel looks for comm~"*put*" of s:x behind the end of the text as well; comm~"*[p]ut*" it reads as it is meant',
  ]);
});

test("globTraps() says nothing of what the kernel reads as it is meant", () => {
  for (const filter of [
    ...["", 'comm~"sh*"', 'comm~"*s?"', 'comm~"*[s]h"', 'comm~"s*h"', 'comm=="*sh"', 'comm~"*"'],
    ...['name~"*sh"', 'name~"*sh*"', 'nofield~"*sh"', "pid==1"],
  ]) {
    expect(trapsOf(filter)).toEqual([]);
  }
});

test("globTraps() tells each once", () => {
  expect(trapsOf('comm~"*sh" || comm~"*sh"')).toHaveLength(1);
});

test("globTraps() quotes what a host may have sent without a control character", () => {
  expect(trapsOf('comm~"*\x1b[2J\nERROR"')).toEqual([]);
  expect(trapsOf('comm~"*a\x1b\nERROR: \u202e"')).toEqual([
    'HINT: the kernel looks for comm~"*a??ERROR: ?" of s:x at the end of the array; comm~"*[a]??ERROR: ?" it reads as it is meant',
  ]);
});
