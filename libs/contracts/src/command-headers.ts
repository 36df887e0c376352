/** What travels beside a command on the bus: who asked and why, so that it stands in the commit. All are optional. */
export const commandHeaders = {
  /** Names the command for ever: given again it finds its first outcome. Without it each message is a command of its own. */
  commandId: 'lintel-command-id',
  correlationId: 'lintel-correlation-id',
  causeId: 'lintel-cause-id',
  /** "cli:<user>" and the like: who stands behind the service that sends it. */
  onBehalfOf: 'lintel-on-behalf-of',
  traceparent: 'traceparent',
} as const;
