export { CodedRpcFilter } from './coded-rpc.filter.ts';
export type { CommandOrigin } from './command-headers.ts';
export { commandHeaders, fromCommandHeaders, toCommandHeaders } from './command-headers.ts';
export type { SendOptions } from './typed-client.ts';
export { TypedClient } from './typed-client.ts';
export type { EventDelivery, LogReactor, LintelTransportOptions, MessageContext } from './lintel-transport.ts';
export { LintelTransport } from './lintel-transport.ts';
