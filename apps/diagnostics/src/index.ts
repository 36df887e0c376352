export type { DiagnosticsOptions, RunningDiagnostics } from './options.ts';
export { startDiagnostics } from './start.ts';
