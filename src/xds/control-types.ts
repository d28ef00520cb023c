// Importing this file makes every configuration message of Envoy known to the codec. The control plane does, because EnvoyFilter may
// speak of any of them; a sidecar does not.
import { addTypes } from './descriptor.ts';
import { CONTROL_TABLE } from './gen/control-table.ts';

addTypes(CONTROL_TABLE);
