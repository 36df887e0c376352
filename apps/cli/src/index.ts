export type { ExitCode } from './exit-codes.ts';
export { exitCodes } from './exit-codes.ts';
export type { Io } from './io.ts';
export { run } from './program.ts';
