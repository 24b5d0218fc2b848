"""The prompts of label sets: ``prompts`` checks them with the tokenizer and says which are alike,
``vectors`` makes vectors of them."""
