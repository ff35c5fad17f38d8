// Columns that grow: their owners have room for some entries at first, and for twice as many when
// that is used up.

/** The numbers of `from` at the front of `to`: how owners grow their columns. */
export function widen<T extends Uint8Array | Uint16Array | Uint32Array | Int32Array | Float64Array>(
  from: T,
  to: T,
): T {
  to.set(from);
  return to;
}
