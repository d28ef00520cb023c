// An application for the mesh under test: answers with the request headers that reached it, and who it is if it was told. Knows nothing of
// the mesh.
import { createServer } from 'node:http';

const served = process.argv[2] === undefined ? {} : { 'x-served-by': process.argv[2] };

createServer((request, response) => {
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ ...request.headers, ...served }));
}).listen(8080, '0.0.0.0');
