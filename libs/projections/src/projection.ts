import type { Following } from '#libs/event-log';
import type { Changes } from './changes.ts';
import type { Row, Table } from './table.ts';

/** What both streams deliver: a place in the total order and when the stream stored it. */
export interface Item {
  readonly seq: number;
  readonly storedAtMs: number;
}

/** Size of what an item carries: of a commit's payload, of a frame. */
export function itemBytes(item: Item & { readonly payload?: Uint8Array; readonly bytes?: Uint8Array }): number {
  return (item.payload ?? item.bytes)?.byteLength ?? 0;
}

/** Rows of the state tables by table name, as they stand at the checkpoint. */
export type StateRows = ReadonlyMap<string, readonly Row[]>;

/**
 * Turns batches into row changes. Its memory is a function of the state rows and the items given since, so that a
 * projection opened again at its checkpoint goes on as if it had never stopped, however the items fall into batches.
 */
export interface Fold<I extends Item> {
  /** Throws a CodedError for an item that it cannot understand; the runner finds out which one and halts there. */
  apply(items: readonly I[], changes: Changes): void;
}

/** A read model: `name@version` says both what is in its tables and how it got there. */
export interface Projection<I extends Item = Item> {
  readonly name: string;
  readonly version: number;
  readonly source: 'events' | 'frames';
  readonly tables: readonly Table[];
  /** `seq`: the checkpoint that the state rows belong to. */
  begin(state: StateRows, seq: number): Fold<I>;
}

/** Anything that can be folded: an EventLog or a FrameStream. */
export interface ItemSource<I extends Item> {
  follow(options: { readonly fromSeq: number }, handler: (item: I) => void | Promise<void>): Promise<Following>;
  lastSeq(): Promise<number>;
}

/** "requests@2" */
export function projectionId(projection: { readonly name: string; readonly version: number }): string {
  return `${projection.name}@${projection.version}`;
}
