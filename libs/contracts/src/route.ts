export * from './gen/lintel/route/v1/commands_pb.ts';
export * from './gen/lintel/route/v1/events_pb.ts';
export * from './gen/lintel/route/v1/record_pb.ts';
