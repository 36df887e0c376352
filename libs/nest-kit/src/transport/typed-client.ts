import type { MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import type { MessagePatternName, MessageType, MessageTypeOf } from '#libs/contracts';
import { findMessageType, messageSubject } from '#libs/contracts';
import type { BusHeaders, Requester } from '#libs/event-log';
import { decodeMessage, encodeMessage } from './message-codec.ts';

export interface SendOptions {
  /** Default 5000. */
  readonly deadlineMs?: number;
  readonly headers?: BusHeaders;
}

const deadlineMsDefault = 5_000;

/** Asks other services by the contract's names: the pattern decides the types of request and answer. */
export class TypedClient {
  constructor(private readonly requester: Requester) {}

  /**
   * @throws BAD_REQUEST the request does not fit its contract · BAD_ANSWER · BUS_NO_RESPONDER · BUS_DEADLINE ·
   *   BUS_UNAVAILABLE · any code that the handler threw
   */
  async send<Name extends MessagePatternName>(
    pattern: Name,
    request: MessageInitShape<MessageTypeOf<Name>['request']>,
    options: SendOptions = {},
  ): Promise<MessageShape<MessageTypeOf<Name>['response']>> {
    const type = findMessageType(pattern) as MessageType;
    const answer = await this.requester.request(
      messageSubject(type),
      encodeMessage(type.request, request as never, 'BAD_REQUEST'),
      { deadlineMs: options.deadlineMs ?? deadlineMsDefault, ...(options.headers && { headers: options.headers }) },
    );
    return decodeMessage(type.response, answer.bytes, 'BAD_ANSWER') as never;
  }
}
