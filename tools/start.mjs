// `npm start`: everything from a bare clone to a gateway that answers. Flags are those of `lintel up`; see --help.
import { become, prepare, root } from './prepare.mjs';

if (!process.argv.includes('--help') && !process.argv.includes('-h')) process.stdout.write('\nLintel\n\n');
await prepare();
become([`${root}/dist/apps/standalone/src/main.js`, ...process.argv.slice(2)]);
