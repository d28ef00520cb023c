// The fields of Istio's ProxyConfig kind (networking v1beta1), not of the mesh's message of that name. Facts only.

import { int32, map, message, string } from './schema.ts';
import { workloadSelector } from './selector.ts';

export const proxyImage = message('ProxyImage', { imageType: string });

export const proxyConfigResource = message(
  'ProxyConfig',
  {
    selector: workloadSelector,
    concurrency: int32,
    environmentVariables: map(string),
    image: proxyImage,
  },
  { limits: { concurrency: { minimum: 0 }, environmentVariables: { each: { maxLength: 2048 } } } },
);
