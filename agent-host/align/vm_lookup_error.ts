/** Which virtual machine is meant cannot be told. Also why KVM does not serve a guest. */
export class VmLookupError extends Error {
  override readonly name: string = "VmLookupError";
  readonly hint: string;

  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}
