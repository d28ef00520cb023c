// Kubernetes' kinds that carry data: Secret and ConfigMap. What a Secret holds is never shown by a message about it.

import { bool, bytes, map, message, secretBytes, secretText, string } from './schema.ts';

export const kubernetesSecret = message('v1.Secret', {
  type: string,
  data: map(secretBytes),
  stringData: map(secretText),
  immutable: bool,
});

export const kubernetesConfigMap = message('v1.ConfigMap', { data: map(string), binaryData: map(bytes), immutable: bool });
