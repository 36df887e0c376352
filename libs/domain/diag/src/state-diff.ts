import type { StateEntry, StateJson, StateKind } from './fleet-state.ts';
import { stateKinds } from './fleet-state.ts';
import type { Json } from './json.ts';

export interface FieldChange {
  readonly field: string;
  /** Undefined where the field was not there. */
  readonly before?: Json;
  readonly after?: Json;
}

export interface StateChange {
  readonly kind: StateKind;
  readonly id: string;
  readonly change: 'added' | 'removed' | 'changed';
  readonly fields: readonly FieldChange[];
  /** The commit that last changed it, where it still is. */
  readonly commitId?: string;
  readonly seq?: number;
}

function changedFields(before: StateEntry, after: StateEntry): FieldChange[] {
  const names = [...new Set([...Object.keys(before.fields), ...Object.keys(after.fields)])].sort();
  return names
    .filter((name) => JSON.stringify(before.fields[name]) !== JSON.stringify(after.fields[name]))
    .map((field) => {
      const [old, now] = [before.fields[field], after.fields[field]];
      return { field, ...(old === undefined ? {} : { before: old }), ...(now === undefined ? {} : { after: now }) };
    });
}

/** What turns the one state into the other, by kind and id. */
export function diffStates(before: StateJson, after: StateJson): StateChange[] {
  const changes: StateChange[] = [];
  for (const kind of stateKinds) {
    const old = new Map(before[kind].map((entry) => [entry.id, entry]));
    for (const entry of after[kind]) {
      const was = old.get(entry.id);
      old.delete(entry.id);
      const { id, commitId, seq } = entry;
      if (was === undefined) changes.push({ kind, id, change: 'added', fields: [], commitId, seq });
      else {
        const fields = changedFields(was, entry);
        if (fields.length > 0) changes.push({ kind, id, change: 'changed', fields, commitId, seq });
      }
    }
    for (const id of old.keys()) changes.push({ kind, id, change: 'removed', fields: [] });
  }
  return changes;
}
