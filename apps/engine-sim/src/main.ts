import { CodedError, errorText } from '#libs/kernel';
import { parseFlags } from './flags.ts';
import { startEngineSim } from './server.ts';

const options = parseFlags(process.argv.slice(2));

try {
  const sim = await startEngineSim({ ...options, crash: () => process.exit(1) });
  const events =
    sim.kvEvents === undefined ? '' : `, KV events on port ${sim.kvEvents.port}, replay ${sim.kvEvents.replayPort}`;
  process.stdout.write(`engine-sim serves ${options.models?.join(', ')} on ${sim.url}${events}\n`);
  const stop = (): void => void sim.stop().then(() => process.exit(0));
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
} catch (error) {
  const advice = error instanceof CodedError ? ` (${error.advice ?? error.code})` : '';
  process.stderr.write(`engine-sim cannot start: ${errorText(error)}${advice}\n`);
  process.exit(1);
}
