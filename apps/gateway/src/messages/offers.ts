import { engineProfile } from '#libs/engines';
import type { FleetReplica } from '../fleet/fleet.ts';

/** How it is known that an engine lacks an endpoint of Anthropic's. */
export type Lacks = 'label' | 'engine' | 'learnt';

/** A replica's label that decides for it: "native" or "translated". */
const label = 'lintel.messages';

/**
 * Which replicas offer Anthropic's endpoints themselves: by label, by what is known of the engine's kind, else by what the first request
 * there came to. Known as long as the replica's registration is.
 */
export class MessagesOffers {
  readonly #known = new WeakMap<FleetReplica, Map<string, boolean>>();

  /** Undefined: it is not known that it lacks it. */
  lacks(replica: FleetReplica, path: string): Lacks | undefined {
    const said = replica.labels[label];
    if (said === 'translated') return 'label';
    if (said === 'native') return undefined;
    if (engineProfile(replica.engine)?.messages === false) return 'engine';
    return this.#known.get(replica)?.get(path) === false ? 'learnt' : undefined;
  }

  /** Nothing is left to learn. */
  settled(replica: FleetReplica, path: string): boolean {
    return replica.labels[label] !== undefined || this.#known.get(replica)?.has(path) === true;
  }

  learn(replica: FleetReplica, path: string, offers: boolean): void {
    const paths = this.#known.get(replica);
    if (paths === undefined) this.#known.set(replica, new Map([[path, offers]]));
    else paths.set(path, offers);
  }
}
