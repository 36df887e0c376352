import { edgeNames } from './edge-schema.ts';
import type { LintelConfig } from './schema.ts';

/** What a gateway takes from its file when it starts, and does not learn from the log. */
const processSettings = ['host', 'port', 'open', 'compat', ...edgeNames] as const;

/** Those that are not the same in both. */
export const changedSettings = (config: LintelConfig, before: LintelConfig): readonly string[] =>
  processSettings.filter((name) => JSON.stringify(config[name]) !== JSON.stringify(before[name]));
