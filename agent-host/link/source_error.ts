/** A source that refuses, ends early or breaks its word: exit code 4. */
export class SourceError extends Error {
  override readonly name = "SourceError";
  readonly hint: string | undefined;
  /** What the source objects to, and where in it, for a caret. */
  readonly text: string | undefined;
  readonly position: number;

  constructor(message: string, hint?: string, text?: string, position = 0) {
    super(message);
    this.hint = hint;
    this.text = text;
    this.position = position;
  }
}
