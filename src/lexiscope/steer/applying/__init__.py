"""How interventions are applied in a forward pass: which tokens, which features, what is added."""
