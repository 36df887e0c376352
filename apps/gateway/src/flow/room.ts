import type { FlowProfile } from '#libs/domain/route';
import type { LoadColumns, RoomBounds } from '#libs/flow-control';
import { roomBounds, roomOf } from '#libs/flow-control';
import { CandidateTable } from '#libs/scheduling';
import type { FleetReplica } from '../fleet/fleet.ts';
import type { PickRequest } from '../serve/picks.ts';

export type Standing = 'room' | 'full' | 'none';

/** Whether the replicas that a request may go to have room for it now. */
export class Rooms {
  /** Those without, after `look`; the array is reused. */
  readonly full: FleetReplica[] = [];
  readonly #table = new CandidateTable();
  readonly #slots = new Float64Array(1);
  readonly #prefillTokens = new Float64Array(1);
  readonly #bounds: RoomBounds;

  /** `prefillTokensOf`: prompt tokens of own requests on a replica that have no first token yet; NaN is unknown. */
  constructor(
    private readonly prefillTokensOf: (replicaId: string) => number,
    bounds: Partial<RoomBounds> = {},
  ) {
    this.#bounds = { ...roomBounds, ...bounds };
  }

  /** `none`: no replica takes requests at all. One that has not answered yet counts where none has, as in a pick. */
  look(request: PickRequest, flow: FlowProfile, beyondShare: boolean): Standing {
    const { full } = this;
    full.length = 0;
    let standing: Standing = 'none';
    for (const wanted of ['ready', 'unknown'] as const) {
      for (const replica of request.replicas) {
        if (replica.routability() !== wanted || request.selector?.(replica.labels) === false) continue;
        if (this.#roomOf(replica, flow, beyondShare) > 0) standing = 'room';
        else {
          full.push(replica);
          if (standing === 'none') standing = 'full';
        }
      }
      if (standing !== 'none') break;
    }
    return standing;
  }

  #roomOf(replica: FleetReplica, { slots }: FlowProfile, beyondShare: boolean): number {
    const table = this.#table;
    table.reset();
    replica.describe(table, table.add(replica.id));
    const labelled = Number(replica.labels['slots'] ?? Number.NaN);
    this.#slots[0] = labelled > 0 ? labelled : slots;
    this.#prefillTokens[0] = this.prefillTokensOf(replica.id);
    const columns: LoadColumns = {
      count: 1,
      inflight: table.values('inflight'),
      slots: this.#slots,
      waiting: table.values('waiting'),
      waitingAgeMs: table.agesMs('waiting'),
      running: table.values('running'),
      runningAgeMs: table.agesMs('running'),
      kvUse: table.values('kvUse'),
      kvUseAgeMs: table.agesMs('kvUse'),
      prefillTokens: this.#prefillTokens,
    };
    return roomOf(columns, 0, this.#bounds, beyondShare);
  }
}
