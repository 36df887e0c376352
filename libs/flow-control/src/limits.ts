/** Bounds and weights of flow control, in one place. */
export interface FlowLimits {
  /** Requests that wait, over all pools. */
  readonly waitingMax: number;
  readonly waitingBytesMax: number;
  /**
   * A tenant may wait in one band with so many times what is still free of the two bounds above: one that floods takes 2/3 of the room,
   * never all of it, and the next one finds some.
   */
  readonly tenantRoomFactor: number;
  /** Evicted for one arrival. */
  readonly evictionsMax: number;
  /** Tenants that are passed over in one dispatch because what they wait for has no room. */
  readonly skipsMax: number;
  /** Dispatches after which a band that waits comes before those above it; Infinity is strict priority. */
  readonly passedOverMax: number;
  /** Priorities run from minus this to this; those beyond are taken as the nearest. */
  readonly priorityMax: number;
  /** A tenant that idles is forgotten so long after its last arrival: its counter says little of now, and its share goes to others. */
  readonly idleMsMax: number;
  /** Tenants with a counter, in each band of a pool; those that idle longest are forgotten first. */
  readonly tenantsMax: number;
  /** Service of one prompt token and of one output token, as in the paper on VTC. */
  readonly inputWeight: number;
  readonly outputWeight: number;
}

export const flowLimits: FlowLimits = {
  waitingMax: 4_096,
  waitingBytesMax: 256 * 1024 * 1024,
  tenantRoomFactor: 2,
  evictionsMax: 16,
  skipsMax: 8,
  passedOverMax: 16,
  priorityMax: 8,
  idleMsMax: 60_000,
  tenantsMax: 4_096,
  inputWeight: 1,
  outputWeight: 2,
};
