// The bodies of the functions that expressions call: printf, ksymbol, comm_get, syscall_name,
// exit_reason_str.
//
//   const functions = makeEvalFunctions({ symbols, comm: (pid, at) => names.get(pid, at) });
//   compileExpr('printf("%s %d", comm_get(_pid), key)', format, ["key"], functions)
//
// What has no name comes out as its number, so that a key made of names never merges what is
// unknown.

import { type Conversion, isSignedLetter, parsePrintf, writeInteger } from "../text/printf.ts";
import type { SymbolResolver } from "../tracefs/symbols.ts";
import type { CallArgument, EvalContext, EvalFunction, EvalFunctions } from "./eval_context.ts";
import { exitReasonName } from "./names/exit_reasons.ts";
import { type SyscallMachine, syscallName } from "./names/syscalls.ts";
import { toSignedDouble } from "./word64.ts";

const TWO_32 = 4294967296;
const UNKNOWN_COMM = new TextEncoder().encode("<...>");
/** Results that one function keeps; the oldest are dropped. */
const CACHED_MAX = 4096;
/** Formats of printf() calls that are kept parsed. */
const FORMATS_MAX = 64;
/** Room for one padded text. */
const PADDED_BYTES_MAX = 4096;

/** What the functions need to know about the machine that the events come from. */
export interface FunctionSources {
  /** For ksymbol(). */
  readonly symbols?: SymbolResolver | undefined;
  /** For comm_get(): the bytes of the name that a process had at a canonical time, if known. */
  readonly comm?: ((pid: number, cycles: number) => Uint8Array | undefined) | undefined;
  /** For syscall_name(); x86_64 unless told. */
  readonly machine?: SyscallMachine | undefined;
}

/** Function bodies for one machine's events. */
export function makeEvalFunctions(sources: FunctionSources = {}): EvalFunctions {
  const { symbols, comm, machine = "x86_64" } = sources;
  return new Map<string, EvalFunction>([
    ["printf", printfFunction()],
    [
      "ksymbol",
      cachedText(
        ([address]) => {
          const { lo, hi } = intOf(address);
          return symbols?.lookup(lo, hi)?.name;
        },
        ([address]) => {
          const { lo, hi } = intOf(address);
          return `0x${BigInt.asUintN(64, (BigInt(hi) << 32n) | BigInt(lo >>> 0)).toString(16)}`;
        },
      ),
    ],
    [
      "comm_get",
      // Not kept: a process may change its name.
      ([pid], { timeCycles }) => comm?.(intOf(pid).lo, timeCycles) ?? UNKNOWN_COMM,
    ],
    [
      "syscall_name",
      cachedText(
        ([number]) => syscallName(machine, numberOf(number)),
        ([number]) => String(numberOf(number)),
      ),
    ],
    [
      "exit_reason_str",
      cachedText(
        ([isa, reason]) => exitReasonName(numberOf(isa), intOf(reason).lo >>> 0),
        ([, reason]) => `0x${(intOf(reason).lo >>> 0).toString(16)}`,
      ),
    ],
  ]);
}

function intOf(argument: CallArgument | undefined): { readonly lo: number; readonly hi: number } {
  return argument?.kind === "int" ? argument : { lo: 0, hi: 0 };
}

function numberOf(argument: CallArgument | undefined): number {
  const { lo, hi } = intOf(argument);
  return toSignedDouble(lo, hi);
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Of arguments that fit: a number, which costs no allocation per event; otherwise text. */
function cacheKey(args: readonly CallArgument[]): number | string {
  const [only] = args;
  if (args.length === 1 && only?.kind === "int" && (only.hi === 0 || only.hi === -1)) {
    return only.hi * TWO_32 + (only.lo >>> 0);
  }
  return args.map((arg) => (arg.kind === "int" ? `${arg.lo},${arg.hi}` : "")).join(";");
}

/**
 * A function of numbers: names never change, and are encoded once per set of arguments. What has no
 * name is written by `nameless` each time: a guest's symbols may still be on their way.
 */
function cachedText(
  nameOf: (args: readonly CallArgument[]) => string | undefined,
  nameless: (args: readonly CallArgument[]) => string,
): EvalFunction {
  const cache = new Map<number | string, Uint8Array>();
  return (args) => {
    const key = cacheKey(args);
    const known = cache.get(key);
    if (known !== undefined) return known;
    const name = nameOf(args);
    if (name === undefined) return encode(nameless(args));
    const text = encode(name);
    if (cache.size >= CACHED_MAX) cache.delete(cache.keys().next().value!);
    cache.set(key, text);
    return text;
  };
}

type Pieces = ReturnType<typeof parsePrintf>;

/** printf(format, ...): writes to context.out, returns the bytes written (0 without an output). */
function printfFunction(): EvalFunction {
  const parsed = new Map<string, Pieces>();
  return ([format, ...args], context) => {
    if (format?.kind !== "text" || context.out === undefined) return 0;
    const text = new TextDecoder("latin1").decode(format.bytes.subarray(format.from, format.to));
    let pieces = parsed.get(text);
    if (pieces === undefined) {
      pieces = parsePrintf(format.bytes.subarray(format.from, format.to));
      if (parsed.size < FORMATS_MAX) parsed.set(text, pieces);
    }
    return writeFormat(context, pieces, args);
  };
}

function writeFormat(context: EvalContext, pieces: Pieces, args: readonly CallArgument[]): number {
  const out = context.out!;
  const mark = out.mark();
  let next = 0;
  for (const piece of pieces) {
    if (piece.kind === "literal") {
      out.raw(piece.bytes);
      continue;
    }
    const { conversion } = piece;
    const width = conversion.isWidthArgument ? intOf(args[next++]).lo : conversion.width;
    const precision = conversion.isPrecisionArgument
      ? intOf(args[next++]).lo
      : conversion.precision;
    writeArgument(context, conversion, args[next++], width, precision);
  }
  return out.mark() - mark;
}

/**
 * Text with a number's conversion is written as text, and the other way round: no type confusion.
 */
function writeArgument(
  context: EvalContext,
  conversion: Conversion,
  argument: CallArgument | undefined,
  width: number,
  precision: number,
): void {
  const out = context.out!;
  if (argument === undefined) {
    out.ascii("(missing)");
    return;
  }
  const isLeft = conversion.isLeft || width < 0;
  if (argument.kind === "text") {
    out.reserve(PADDED_BYTES_MAX);
    const mark = out.mark();
    const to = precision >= 0 ? Math.min(argument.to, argument.from + precision) : argument.to;
    out.untrusted(argument.bytes, argument.from, to);
    out.padFrom(mark, Math.abs(width), isLeft);
    return;
  }
  if (conversion.letter === "c") {
    out.untrusted(Uint8Array.of(argument.lo), 0, 1);
    return;
  }
  // Numbers here are 64 bits wide: an int conversion of one that does not fit would be a lie.
  const letter = "diuxXo".includes(conversion.letter) ? conversion.letter : "d";
  const isWide = argument.hi !== (isSignedLetter(letter) ? argument.lo >> 31 : 0);
  const bits = isWide && !(argument.hi === -1 && argument.isSigned) ? 64 : conversion.bits;
  const sized = { ...conversion, letter, bits };
  writeInteger(out, sized, argument.lo, argument.hi, Math.abs(width), precision, isLeft);
}
