/** What a message asks for and chat completions cannot say. */
export class Untranslatable extends Error {
  constructor(
    message: string,
    readonly param: string,
  ) {
    super(message);
  }
}
