// Schema: MeshNetworks, which networks there are and by which gateways each is reached from the others.

import { list, map, message, string, uint32 } from './schema.ts';

const networkEndpoints = message(
  'Network.NetworkEndpoints',
  { fromCidr: string, fromRegistry: string },
  { oneofs: [['fromCidr', 'fromRegistry']] },
);

const networkGateway = message(
  'Network.IstioNetworkGateway',
  { registryServiceName: string, address: string, port: uint32, locality: string },
  { oneofs: [['registryServiceName', 'address']] },
);

export const meshNetworks = message('MeshNetworks', {
  networks: map(message('Network', { endpoints: list(networkEndpoints), gateways: list(networkGateway) })),
});
