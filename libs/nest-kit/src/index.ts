export type { AppGiven, AppProcess, BrokerAccess } from './app-process.ts';
export { listenError, runApp } from './app-process.ts';
export * from './config/index.ts';
export { env } from './env.ts';
export { nestLogger } from './nest-logger.ts';
export type { Problem } from './problem.ts';
export { ProblemFilter, statusOf, toProblem } from './problem.ts';
export * from './transport/index.ts';
