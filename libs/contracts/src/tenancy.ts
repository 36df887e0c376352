export * from './gen/lintel/tenancy/v1/commands_pb.ts';
export * from './gen/lintel/tenancy/v1/events_pb.ts';
