/** The name of a stream: whoever has positions of another one must not take this one for it. */

/** 0 is nobody's. */
export function newStreamNonce(): bigint {
  return crypto.getRandomValues(new BigUint64Array(1))[0]! | 1n;
}
