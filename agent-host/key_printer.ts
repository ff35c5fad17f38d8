/**
 * printkey=: a key as the user wants to read it, in the rows of --perins.
 *
 *   -e 'irq:softirq_entry//key=(_cpu<<32)|vec/printkey=printf("cpu%d vec %d",key>>32,(int)key)/'
 *   cpu1 vec 9         softirq_entry => softirq_exit ...
 */
import { EvalContext, type EvalFunctions } from "../shared/expr/eval_context.ts";
import { type CompiledExpr, compileExpr } from "../shared/expr/expression.ts";
import { ByteWriter, WRITER_BYTES_MIN } from "../shared/text/byte_writer.ts";

/** Longest text of one key. */
const KEY_CHARS_MAX = 256;

export class KeyPrinter {
  readonly #expr: CompiledExpr;
  readonly #context = new EvalContext();
  readonly #out: ByteWriter;
  #text = "";

  /** Compiles `source`, whose only variable is the key. Throws ExprError. */
  constructor(source: string, functions: EvalFunctions | undefined) {
    this.#expr = compileExpr(source, undefined, ["key"], functions);
    this.#out = new ByteWriter(WRITER_BYTES_MIN, (bytes) => {
      this.#text += new TextDecoder("latin1").decode(bytes);
    });
    this.#context.out = this.#out;
  }

  /** What printf() wrote, else the text or the number that the expression gives. */
  print(lo: number, hi: number): string {
    const context = this.#context;
    this.#text = "";
    context.values[0] = lo;
    context.values[1] = hi;
    this.#expr.evaluate(context);
    this.#out.flush();
    if (this.#text === "") {
      if (this.#expr.kind === "int") {
        const value = (BigInt(context.hi) << 32n) | BigInt(this.#expr.lo >>> 0);
        return String(this.#expr.isSigned ? value : BigInt.asUintN(64, value));
      }
      this.#text = new TextDecoder("latin1").decode(
        context.textBytes.subarray(context.textFrom, context.textTo),
      );
    }
    return this.#text.slice(0, KEY_CHARS_MAX);
  }
}
