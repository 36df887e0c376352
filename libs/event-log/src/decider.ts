/** A typed event of a decider: the message name and its data (a protobuf-es message initialiser). */
export interface DomainEvent {
  readonly type: string;
  readonly data: object;
}

/**
 * The rules of one kind of aggregate. Both functions are pure and synchronous.
 * `decide` answers no events where the command asks for what is so already, and throws a CodedError to refuse.
 * `evolve` is total over the events and never throws.
 */
export interface Decider<State, Command, Event extends DomainEvent> {
  readonly context: string;
  readonly aggregate: string;
  readonly initial: State;
  decide(state: State, command: Command): readonly Event[];
  evolve(state: State, event: Event): State;
}
