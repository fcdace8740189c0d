"""What `smolfast train` can do beside training on text: pairs of answers, a look at a parametrisation."""
