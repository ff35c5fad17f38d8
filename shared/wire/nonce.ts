/** Names of streams and of attempts to attach: whoever knows one must not take another for it. */

/** 0 is nobody's. */
export function newNonce(): bigint {
  return crypto.getRandomValues(new BigUint64Array(1))[0]! | 1n;
}
