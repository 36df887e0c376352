import { run } from './program.ts';
import { systemIo } from './system-io.ts';

// `lintel log | head` ends when head does.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 6));
process.exitCode = await run(process.argv.slice(2), systemIo());
