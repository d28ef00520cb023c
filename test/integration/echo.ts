// An application for the mesh under test: answers with the request headers that reached it. Knows nothing of the mesh.
import { createServer } from 'node:http';

createServer((request, response) => {
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(request.headers));
}).listen(8080, '0.0.0.0');
