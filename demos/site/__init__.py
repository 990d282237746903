"""What the web page is made of: the server, who may come in, what is sent, and the page itself in `static`."""
