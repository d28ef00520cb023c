// tables/pkg_jwt.json: header names of matches that mean a claim of the caller's token.

import { routingClaim } from '../../../src/api/values/header-text.ts';
import { claimMatcher, isClaim } from '../../../src/translate/claim-match.ts';
import { differs, row, text } from './case.ts';
import { table } from './table.ts';

export const jwt = table({
  TestToRoutingClaim: (r) => {
    const name = text(r['name']);
    const want = row(r['want']);
    const checked = routingClaim(name);
    // What is checked is what is translated.
    const path = isClaim(name)
      ? claimMatcher(name, {}, false)
          .path?.slice(1)
          .map((p) => p.key)
      : undefined;
    return differs({ checked, path }, want['Match'] === true ? { checked: want['Claims'], path: want['Claims'] } : {});
  },
});
