"""What `para-attn-server doctor` looks at. Every check only reads; none leaves anything behind."""
