const start = Buffer.from('data: {"error"');

/** A stream whose first words are an error: nothing of an answer has come. */
export const startsWithError = (chunk: Buffer): boolean => chunk.subarray(0, start.length).equals(start);
