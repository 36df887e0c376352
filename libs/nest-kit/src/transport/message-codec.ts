import type { DescMessage, JsonValue, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { create, fromJson, toJson } from '@bufbuild/protobuf';
import { CodedError, errorText } from '#libs/kernel';

const decoder = new TextDecoder('utf-8', { fatal: true });
const encoder = new TextEncoder();

/** ProtoJSON bytes to the message; a field that the contract lacks is refused, not dropped. @throws `code` */
export function decodeMessage<D extends DescMessage>(schema: D, bytes: Uint8Array, code: string): MessageShape<D> {
  try {
    return fromJson(schema, JSON.parse(decoder.decode(bytes)) as JsonValue);
  } catch (cause) {
    throw new CodedError(code, `${schema.name}: ${errorText(cause)}`, {
      advice: `Send the ProtoJSON of ${schema.typeName}; is one side newer than the other?`,
      cause,
    });
  }
}

/** A message or its plain shape to ProtoJSON bytes. @throws `code` */
export function encodeMessage<D extends DescMessage>(schema: D, value: MessageInitShape<D>, code: string): Uint8Array {
  try {
    return encoder.encode(JSON.stringify(toJson(schema, create(schema, value))));
  } catch (cause) {
    throw new CodedError(code, `${schema.name}: ${errorText(cause)}`, { cause });
  }
}
