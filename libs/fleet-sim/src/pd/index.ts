export type { PdOptions, PdReport, PdRole } from './pd.ts';
export { simulatePd } from './pd.ts';
