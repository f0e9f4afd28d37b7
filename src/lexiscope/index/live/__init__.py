"""What only the model can say of features: a text taken apart, a feature taken out, features found by example."""
