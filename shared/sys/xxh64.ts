/**
 * XXH64 (seed 0) by the native stub: the checksum of payloads in files. Streaming, so that a ring
 * span that wraps is hashed in two pieces where it lies.
 */
import { ffi } from "#ffi";
import { type Address, addressOf } from "./syscall.ts";

/** Must hold struct xxh64_state of native/stubs.c: 4 lanes, total, 32 bytes of tail. */
const STATE_WORDS = 9;

export class Xxh64 {
  readonly #state = new BigUint64Array(STATE_WORDS);
  readonly #stateAddress = addressOf(this.#state);
  readonly #digest: Uint32Array;
  readonly #digestAddress: Address;

  /** Digests go to `digest`: low word, high word. */
  constructor(digest: Uint32Array = new Uint32Array(2)) {
    this.#digest = digest;
    this.#digestAddress = addressOf(digest);
  }

  reset(): this {
    ffi.stubs.xxh64Init(this.#stateAddress);
    return this;
  }

  updateAt(address: Address, bytes: number): this {
    ffi.stubs.xxh64Update(this.#stateAddress, address, bytes);
    return this;
  }

  update(bytes: Uint8Array): this {
    if (bytes.length > 0) this.updateAt(addressOf(bytes), bytes.length);
    return this;
  }

  /** The digest of everything since reset(), in the array given at construction. */
  finish(): Uint32Array {
    ffi.stubs.xxh64Digest(this.#stateAddress, this.#digestAddress);
    return this.#digest;
  }
}
