import { CodedError } from '#libs/kernel';

/** A law of docs/invariants.md did not hold. The seed repeats it. */
export class FleetLawBroken extends CodedError {
  constructor(
    readonly law: string,
    what: string,
  ) {
    super('FLEET_LAW_BROKEN', `${law}: ${what}`, {
      advice: 'Run the same workload, strategy and seed again with a trace: it breaks at the same event.',
    });
  }
}

const enum State {
  Unseen = 0,
  Arrived = 1,
  Dispatched = 2,
  Streaming = 3,
  Finished = 4,
  Refused = 5,
}

/** Watches a run: each request goes its way once, on one replica, and time goes forward. Throws at the first breach. */
export class LawBook {
  readonly #state: Uint8Array;
  readonly #replica: Int32Array;
  readonly #inflight: Int32Array;
  #nowMs = 0;
  arrived = 0;
  finished = 0;
  refused = 0;

  constructor(requests: number, replicas: number) {
    this.#state = new Uint8Array(requests);
    this.#replica = new Int32Array(requests).fill(-1);
    this.#inflight = new Int32Array(replicas);
  }

  time(nowMs: number): void {
    if (!(nowMs >= this.#nowMs)) throw new FleetLawBroken('L34', `time went from ${this.#nowMs} to ${nowMs} ms`);
    this.#nowMs = nowMs;
  }

  /** A signal that a pick reads. */
  age(column: string, ageMs: number): void {
    if (ageMs < 0) throw new FleetLawBroken('L34', `${column} is ${-ageMs} ms from the future`);
  }

  arrive(request: number): void {
    this.#step(request, State.Unseen, State.Arrived);
    this.arrived++;
  }

  refuse(request: number): void {
    this.#step(request, State.Arrived, State.Refused);
    this.refused++;
  }

  dispatch(request: number, replica: number): void {
    this.#step(request, State.Arrived, State.Dispatched);
    this.#replica[request] = replica;
    this.#inflight[replica]!++;
  }

  firstToken(request: number, replica: number): void {
    this.#step(request, State.Dispatched, State.Streaming);
    this.#onItsReplica(request, replica);
  }

  finish(request: number, replica: number): void {
    this.#step(request, State.Streaming, State.Finished);
    this.#onItsReplica(request, replica);
    this.#inflight[replica]!--;
    this.finished++;
  }

  /** `counted` is what the gateways count, `inside` what the engine has. */
  inflight(replica: number, counted: number, inside: number): void {
    const known = this.#inflight[replica] as number;
    if (known !== counted || known !== inside) {
      throw new FleetLawBroken('L33', `replica ${replica}: ${known} dispatched, ${counted} counted, ${inside} inside`);
    }
  }

  /** Nothing is left behind when all is quiet. */
  end(requests: number): void {
    if (this.arrived !== requests || this.finished + this.refused !== requests) {
      const { arrived, finished, refused } = this;
      throw new FleetLawBroken(
        'L33',
        `of ${requests} requests ${arrived} arrived, ${finished} finished, ${refused} refused`,
      );
    }
  }

  #onItsReplica(request: number, replica: number): void {
    const sent = this.#replica[request] as number;
    if (sent !== replica) throw new FleetLawBroken('L33', `request ${request} of replica ${sent} is on ${replica} too`);
  }

  #step(request: number, from: State, to: State): void {
    const state = this.#state[request];
    if (state !== from) throw new FleetLawBroken('L33', `request ${request} went from state ${state} to ${to}`);
    this.#state[request] = to;
  }
}
