// The operation a request is part of, as x-envoy-decorator-operation tells it between proxies: an egress side gives its route's to
// whoever makes the next span, an ingress side answers with its own unless the caller named one.

import type { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import type { HcmPlan } from './hcm-plan.ts';

export class RequestDecorator {
  readonly #tracing: HcmPlan['tracing'];
  #named = false;

  constructor(plan: HcmPlan) {
    this.#tracing = plan.tracing;
  }

  reset(): void {
    this.#named = false;
  }

  request(headers: HeaderBlock, operation: string | undefined): void {
    if (this.#tracing === 'egress') {
      if (operation !== undefined && operation !== '') headers.setById(H.X_ENVOY_DECORATOR_OPERATION, operation);
    } else if (this.#tracing === 'ingress') this.#named ||= headers.removeById(H.X_ENVOY_DECORATOR_OPERATION) > 0;
  }

  response(headers: HeaderBlock, operation: string | undefined): void {
    if (this.#tracing === 'egress') headers.removeById(H.X_ENVOY_DECORATOR_OPERATION);
    else if (this.#tracing === 'ingress' && !this.#named && operation !== undefined && operation !== '')
      headers.setById(H.X_ENVOY_DECORATOR_OPERATION, operation);
  }
}
