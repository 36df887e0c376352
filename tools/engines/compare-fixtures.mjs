// Compares two recordings of vLLM's answers by their shape: statuses, headers, members, types, event and metric names.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { readJson } from './common.mjs';
import { exchangeFacts, kvCallFacts, replayFacts } from './shape.mjs';

/** The recording as {name: facts}. */
export function recordingFacts({ exchanges, kvEvents }) {
  const all = {};
  for (const [name, exchange] of Object.entries(exchanges)) all[name] = exchangeFacts(exchange);
  for (const call of kvEvents.calls) all[`kv-events of ${call.name}`] = kvCallFacts(call);
  all['kv-events replay'] = replayFacts(kvEvents.replay);
  return all;
}

export function readRecording(folder) {
  if (!existsSync(join(folder, 'index.json'))) return undefined;
  const names = readdirSync(folder).filter(
    (name) => name.endsWith('.json') && !['index.json', 'kv-events.json'].includes(name),
  );
  return {
    exchanges: Object.fromEntries(names.map((name) => [name.slice(0, -5), readJson(join(folder, name))])),
    kvEvents: readJson(join(folder, 'kv-events.json')),
  };
}

/** [{name, differences: [line, ...]}] for every fixture of either side; no differences means that they agree. */
export function compareRecordings(committed, recorded) {
  const [old, now] = [recordingFacts(committed), recordingFacts(recorded)];
  return [...new Set([...Object.keys(old), ...Object.keys(now)])].map((name) => {
    if (!now[name]) return { name, differences: ['is committed but not recorded any more'] };
    if (!old[name]) return { name, differences: ['is recorded but not committed'] };
    const gone = [...old[name]].filter((fact) => !now[name].has(fact)).map((fact) => `committed only: ${fact}`);
    const added = [...now[name]].filter((fact) => !old[name].has(fact)).map((fact) => `recorded only:  ${fact}`);
    return { name, differences: [...gone, ...added] };
  });
}
