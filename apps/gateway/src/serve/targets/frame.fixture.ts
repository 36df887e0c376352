import { fromBinary } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import type { RecordInput } from '#libs/recording';
import { FrameBuilder } from '#libs/recording';

/** Records as they stand in the log. */
export function frameOf(records: readonly RecordInput[]): route.RecordFrame {
  const builder = new FrameBuilder();
  for (const record of records) builder.add(record);
  const head = { gatewayId: 'g', bootId: 'b', frameSeq: 1, closedAtMs: 0, dropped: 0 };
  return fromBinary(route.RecordFrameSchema, builder.finish(head));
}
