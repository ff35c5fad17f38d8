/**
 * XXH64 (seed 0) by the native stub: the checksum of payloads in files. Streaming, so that a ring
 * span that wraps is hashed in two pieces where it lies.
 */
import { ffi } from "#ffi";
import { Mapping } from "./mapping.ts";
import { type Address, addressOf } from "./syscall.ts";

/** Must hold struct xxh64_state of native/stubs.c: 4 lanes, total, 32 bytes of tail. */
const STATE_BYTES = 72;
/** State and digest of one hash; mapped, so that their addresses never change (see clock.ts). */
const SLOT_BYTES = 80;

export class Xxh64 {
  readonly #slot = Mapping.anonymous(SLOT_BYTES);
  readonly #state = this.#slot.address;
  /** The last digest: low word, high word. */
  readonly digest = new Uint32Array(this.#slot.buffer, STATE_BYTES, 2);
  /** Where finish() leaves the digest, little endian, for writing it as it is. */
  readonly digestAddress = (this.#slot.address + STATE_BYTES) as Address;

  reset(): this {
    ffi.stubs.xxh64Init(this.#state);
    return this;
  }

  updateAt(address: Address, bytes: number): this {
    ffi.stubs.xxh64Update(this.#state, address, bytes);
    return this;
  }

  update(bytes: Uint8Array): this {
    if (bytes.length > 0) this.updateAt(addressOf(bytes), bytes.length);
    return this;
  }

  close(): void {
    this.#slot.close();
  }

  /** The digest of everything since reset(), low word and high word; valid until the next one. */
  finish(): Uint32Array {
    ffi.stubs.xxh64Digest(this.#state, this.digestAddress);
    return this.digest;
  }
}
