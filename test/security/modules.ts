// Whose checks there are.
import type { Checks } from './check.ts';
import { checks as compromised } from './compromised-checks.ts';
import { checks as edge } from './edge-checks.ts';
import { checks as explained } from './explain-checks.ts';
import { checks as hostilePeers } from './hostile-peer-checks.ts';
import { checks as jwt } from './jwt-checks.ts';
import { checks as lives } from './life-checks.ts';
import { checks as recipes } from './recipe-checks.ts';
import { checks as revocation } from './revocation-checks.ts';
import { checks as rotation } from './rotation-checks.ts';
import { checks as routeDenials } from './route-denial-checks.ts';

export const checksOf = (): readonly Checks[] => [
  recipes,
  compromised,
  hostilePeers,
  edge,
  jwt,
  explained,
  routeDenials,
  lives,
  rotation,
  revocation,
];
