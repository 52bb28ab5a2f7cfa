"""Where tinybert differs from transformers 4.57.6 on purpose: what, why, and by which test."""

from __future__ import annotations

from typing import NamedTuple


class Deviation(NamedTuple):
    """One difference: where it is, what tinybert does, why, and the test that shows it."""

    where: str
    what: str
    why: str
    test: str


_METHODS = "tests/tokenizers/test_methods.py"
_CALL = "tests/tokenizers/test_bert_call.py"
_FILES = "tests/tokenizers/test_bert_files.py"
_MEGA_TEXT = "tests/tokenizers/test_mega.py"
_JSON = "tests/tokenizers/test_tokenizer_json.py"
_DECODER = "tests/models/test_decoder.py"
_LOSSES = "tests/models/test_losses.py"
_FAST = "tests/tokenizers/test_bert_fast_call.py"
_PIPELINES = "tests/pipelines"
_MEGATRON = "tests/checkpoints/test_megatron_lm.py"
_MEGA = "tests/models/test_mega_decoder.py"
_MEGA_SERVICES = "tests/models/test_mega_services.py"
_NEMOTRON = "tests/models/test_nemotron_services.py"
_GENERATE = "tests/generation/test_generate_arguments.py"

deviations: tuple[Deviation, ...] = (
    Deviation(
        "BertTokenizer.__call__",
        "a max_length below the number of special tokens is refused",
        "transformers returns the row uncut, longer than was asked for",
        f"{_CALL}::test_values_that_are_refused",
    ),
    Deviation(
        "BertTokenizer.__call__",
        "only_first and only_second are refused where that text is too short to cut, or is missing",
        "transformers logs an error and returns the row uncut",
        f"{_CALL}::test_values_that_are_refused",
    ),
    Deviation(
        "BertTokenizer.__call__",
        'padding="max_length" also pads a single empty row',
        "transformers returns it empty, which no model accepts beside other rows",
        f"{_CALL}::test_an_empty_row_is_padded",
    ),
    Deviation(
        "BertTokenizer.__call__",
        "ragged rows are refused when arrays are asked for",
        "transformers makes arrays of objects, which no model accepts",
        f"{_CALL}::test_values_that_are_refused",
    ),
    Deviation(
        "BertTokenizer.add_tokens",
        "in a vocabulary whose ids have gaps, new tokens get free ids, and saving keeps every id",
        "transformers gives new tokens ids that are taken, and closes the gaps when it saves",
        f"{_FILES}::test_ids_survive_gaps",
    ),
    Deviation(
        "BertTokenizer.add_tokens",
        "of overlapping added tokens, those that remain after the leftmost longest are still found",
        "transformers loses the second of 'abd' and 'b' in 'abcd'",
        "tests/tokenizers/test_added_tokens.py::test_leftmost_and_longest_token_is_found",
    ),
    Deviation(
        "BertTokenizer",
        "an unknown word gets the id of [UNK] also where [UNK] was appended to the vocabulary",
        "where lines of the file repeat, transformers gives it the id of another token",
        "tests/tokenizers/test_bert_tokenizer.py"
        "::test_special_tokens_missing_from_the_vocabulary_are_appended",
    ),
    Deviation(
        "BertTokenizerFast.__call__",
        "a stride as large as the room for tokens is a ValueError that names both",
        "the Rust library panics where they are equal",
        f"{_FAST}::test_values_that_are_refused",
    ),
    Deviation(
        "BertTokenizerFast.__call__",
        "a stride that fits, or that a call makes no use of, is taken",
        "the Rust library also reserves places for special tokens that are not added, and refuses "
        "a large stride even where nothing is cut",
        f"{_FAST}::test_a_stride_that_the_original_refuses",
    ),
    Deviation(
        "BertTokenizerFast.__call__",
        "max_length below the number of special tokens, and ragged rows as arrays, are refused",
        "transformers returns rows that are too long, or arrays of objects",
        f"{_FAST}::test_values_that_are_refused",
    ),
    Deviation(
        "BertTokenizerFast.__call__",
        "a list of tokens or ids is no text, a TypeError",
        "transformers takes a list of two tokens for a pair of texts",
        f"{_METHODS}::test_ids_and_tokens_are_texts_for_the_slow_class_alone",
    ),
    Deviation(
        "BertTokenizerFast.get_special_tokens_mask",
        "also answers for rows without special tokens",
        "transformers fails with an AssertionError",
        f"{_METHODS}::test_masks_of_special_tokens_for_both_kinds_of_row",
    ),
    Deviation(
        "BertTokenizerFast",
        'clean_text does what its description says, and wordpieces_prefix can only be "##"',
        "transformers takes both options and makes no use of them",
        f"{_METHODS}::test_clean_text_and_wordpieces_prefix",
    ),
    Deviation(
        "BertTokenizerFast.vocab",
        "is the vocabulary file alone, as it is for BertTokenizer; get_vocab() has all tokens",
        "transformers has the added tokens in it too, for the fast class only",
        f"{_METHODS}::test_vocab_and_get_vocab",
    ),
    Deviation(
        "BertTokenizerFast.save_pretrained",
        "a tokenizer.json does not depend on the calls before it was written",
        "transformers writes the padding and truncation of the last call into it",
        f"{_METHODS}::test_what_is_saved_does_not_depend_on_calls",
    ),
    Deviation(
        "BertTokenizer.__call__, BertTokenizerFast.batch_encode_plus",
        "split_special_tokens counts in a batch as it does for one text",
        "transformers forgets the option of the call (slow), or of the tokenizer (fast)",
        f"{_METHODS}::test_split_special_tokens_for_one_call",
    ),
    Deviation(
        "BertTokenizer.__call__",
        "an empty list of words is a text without tokens, as it is for BertTokenizerFast",
        "transformers fails, with an IndexError if it is in a batch",
        f"{_METHODS}::test_an_empty_list_of_words",
    ),
    Deviation(
        "BertTokenizer.tokenize, BertTokenizer.__call__",
        "an option that does not exist is a TypeError",
        "transformers logs it, and a misspelt option has no effect",
        f"{_CALL}::test_types_that_are_refused",
    ),
    Deviation(
        "BertTokenizer.truncate_sequences",
        "sequences too short for the strategy are refused",
        "transformers logs an error and returns them uncut",
        f"{_METHODS}::test_truncate_sequences",
    ),
    Deviation(
        "BertTokenizer.do_lower_case",
        "is always what it was set to",
        "transformers has no such attribute with do_basic_tokenize=False",
        f"{_METHODS}::test_do_lower_case_without_basic_tokenization",
    ),
    Deviation(
        "MegaTokenizer",
        "a byte that the vocabulary lacks becomes the unknown token, as in RobertaTokenizer",
        "RobertaTokenizerFast drops it without a word, and places behind it are wrong",
        f"{_MEGA_TEXT}::test_a_byte_that_the_vocabulary_lacks_is_unknown",
    ),
    Deviation(
        "MegaTokenizer.decode",
        "`errors` says what becomes of bytes that are no UTF-8",
        "RobertaTokenizerFast takes the option and makes no use of it",
        f"{_MEGA_TEXT}::test_errors_of_decoding",
    ),
    Deviation(
        "MegaTokenizer.__call__",
        "token types are 0 also in rows that overflow, without special tokens",
        "RobertaTokenizerFast gives those of a second text type 1 in these rows alone",
        f"{_MEGA_TEXT}::test_types_of_overflow_without_special_tokens",
    ),
    Deviation(
        "TokenizerJSON",
        "add_prefix_space of the file counts, unless the option is given",
        "PreTrainedTokenizerFast changes it to False, so that ids differ from those of the library",
        f"{_JSON}::test_the_space_before_a_text_is_that_of_the_file",
    ),
    Deviation(
        "TokenizerJSON",
        "an added token of which normalisation leaves nothing never occurs",
        "the library finds it between any two characters, and cuts words there",
        f"{_JSON}::test_an_added_token_of_which_nothing_is_left",
    ),
    Deviation(
        "TokenizerJSON",
        "a pattern of the file that takes too long is a ValueError that names it",
        "the library searches as long as it takes",
        f"{_JSON}::test_a_pattern_that_never_ends",
    ),
    Deviation(
        "TokenizerJSON",
        "dropout, which makes the ids of a text random, is refused",
        "the library applies it, though it is meant for training",
        f"{_JSON}::test_bad_files",
    ),
    Deviation(
        "TokenizerJSON.__call__",
        "sequence_ids() of padding is None",
        "PreTrainedTokenizerFast gives 0 if the file has no post-processor",
        f"{_JSON}::test_padding_belongs_to_no_text",
    ),
    Deviation(
        "TokenizerJSON.__call__",
        "token types of RobertaProcessing are 0 also in rows that overflow, without special tokens",
        "PreTrainedTokenizerFast gives those of a second text type 1 in these rows alone",
        f"{_JSON}::test_types_of_overflow_without_special_tokens",
    ),
    Deviation(
        "TokenizerJSON.build_inputs_with_special_tokens",
        "makes the row that a call would make",
        "PreTrainedTokenizerFast joins the ids without special tokens",
        f"{_JSON}::test_rows_of_ids",
    ),
    Deviation(
        "BertModel",
        "relative positions are those of the queries, with a cache as without",
        "transformers takes the last position for all queries of a call with use_cache=True, so "
        "that a relative decoder gives other numbers with a cache",
        f"{_DECODER}::test_relative_positions_with_a_cache_are_those_of_the_queries",
    ),
    Deviation(
        "MegatronBertModel",
        "relative cross-attention takes the positions of the queries in a cached step too",
        "transformers takes the encoder's last position, so that cached steps differ from one pass",
        f"{_DECODER}::test_cached_passes_equal_one_full_pass",
    ),
    Deviation(
        "BertModel",
        "a warning if attention_mask hides the first token of every text",
        "transformers silently takes token_type_ids, given as the second argument, for a mask",
        f"{_DECODER}::test_a_warning_if_token_types_are_taken_for_a_mask",
    ),
    Deviation(
        "BertModel.prune_heads",
        "a head_mask keeps the original numbers of heads, and layers that exist keep at least one",
        "transformers cannot be called with a head_mask after pruning",
        "tests/models/test_services.py::test_pruned_heads_are_masked_heads",
    ),
    Deviation(
        "BertForSequenceClassification",
        "the kind of problem is read from the labels of every call, unless the config names it",
        "transformers writes its guess into the config, so that a call with labels of another kind "
        "fails, and saves it",
        f"{_LOSSES}::test_the_kind_of_problem_does_not_stick",
    ),
    Deviation(
        "labels of every head",
        "any array of whole numbers is taken for class numbers, whatever its dtype",
        "transformers demands int64, and takes int16 labels for several classes",
        f"{_LOSSES}::test_labels_of_any_dtype",
    ),
    Deviation(
        "BertForSequenceClassification",
        "labels outside 0 to 1 are refused for several classes",
        "transformers computes a loss that has no meaning, and no lower bound",
        "tests/models/test_arguments.py::test_labels_of_every_problem_type_are_checked",
    ),
    Deviation(
        "BertForQuestionAnswering",
        "num_labels other than 2 is refused when the model is made",
        "transformers fails at the first call",
        f"{_LOSSES}::test_an_answer_has_two_ends",
    ),
    Deviation(
        "labels of every head",
        "a warning if no label counts, since the loss is nan then",
        "transformers returns nan silently",
        f"{_LOSSES}::test_labels_of_which_none_counts",
    ),
    Deviation(
        "MegaModel",
        "a decoder whose moving average is bidirectional is refused when it is made",
        "transformers trains one without a word: what should be predicted is in its inputs",
        f"{_MEGA}::test_a_bidirectional_decoder_is_refused_when_it_is_made",
    ),
    Deviation(
        "MegaModel",
        'normalization_type="rmsnorm" normalises; reference="transformers" in the config undoes it',
        "transformers multiplies by the weight and drops the rest, so weights may have been "
        "trained so",
        f"{_MEGA}::test_rmsnorm_normalises_unless_the_reference_is_asked_for",
    ),
    Deviation(
        "MegaModel",
        "laplace and relu2 divide by the number of keys that a query sees, with a cache as without",
        "transformers divides by 1 in a cached step, so that it differs from the full pass",
        f"{_MEGA}::test_weights_on_their_own_count_all_keys_of_a_cached_step",
    ),
    Deviation(
        "MegaModel",
        "laplace and relu2 do not count padding among the keys of a decoder",
        "transformers does, so that the result depends on how much padding there is at the left",
        f"{_MEGA}::test_weights_on_their_own_do_not_count_padding",
    ),
    Deviation(
        "MegaModel",
        "padding at the left of a decoder gives finite numbers, and is hidden from cached "
        "steps too",
        "transformers gives nan, and lets a cached step see padding that came earlier",
        f"{_MEGA}::test_left_padding_stays_finite_and_is_never_seen",
    ),
    Deviation(
        "MegaModel",
        "a decoder in chunks takes any number of tokens, also step by step",
        "transformers fails unless they are a multiple of the chunk's size",
        f"{_MEGA}::test_chunked_decoders_take_any_length",
    ),
    Deviation(
        "MegaModel",
        "an encoder in chunks refuses a length that does not fit, and says how to pad",
        "transformers fails within a reshape",
        f"{_MEGA}::test_an_encoder_in_chunks_wants_a_multiple",
    ),
    Deviation(
        "MegaModel",
        "the truncation of the moving average counts with a cache too; the cache holds the "
        "last inputs",
        "transformers forgets the truncation as soon as it keeps a state",
        "tests/nn/test_ema.py::test_truncation_counts_with_a_state_too",
    ),
    Deviation(
        "MegaModel",
        "the bias of cross-attention is that of the query's place, with a cache as without",
        "transformers takes that of the next place in a cached step",
        f"{_MEGA}::test_cross_attention_knows_the_place_of_a_cached_step",
    ),
    Deviation(
        "MegaModel",
        "a text of an encoder that is all padding gives finite numbers",
        "transformers gives nan",
        f"{_MEGA}::test_an_encoder_that_is_all_padding",
    ),
    Deviation(
        "MegaModel",
        "several tokens may follow a cache at once",
        "transformers takes one token only",
        f"{_MEGA}::test_cached_passes_equal_one_full_pass",
    ),
    Deviation(
        "MegaModel",
        "weights that are loaded after a call in evaluation count",
        "transformers keeps the moving average's kernels of the first call",
        f"{_MEGA_SERVICES}::test_weights_loaded_after_a_call_count",
    ),
    Deviation(
        "MegaModel",
        "layernorm without weights (norm_affine=False) works",
        "transformers fails when it draws them",
        f"{_MEGA}::test_layernorm_without_weights",
    ),
    Deviation(
        "MegaModel",
        "an odd shared_representation_size is refused for a rotary bias, an odd hidden_size is not",
        "transformers looks at the wrong one of the two, and fails at the first call",
        f"{_MEGA_SERVICES}::test_an_odd_size_does_for_a_simple_bias",
    ),
    Deviation(
        "MegaModel",
        "padding at the left that is no multiple of chunk_size is refused; the pipeline of "
        "text-generation forms its batches accordingly",
        "transformers lets it move the borders between chunks: a row differs from the same alone",
        f"{_MEGA}::test_padding_at_the_left_must_not_move_the_borders_of_chunks",
    ),
    Deviation(
        "MegaModel",
        "token types may be left out of texts longer than max_positions",
        "transformers fails: its default types are that long",
        f"{_MEGA_SERVICES}::test_longer_than_max_positions_with_token_types",
    ),
    Deviation(
        "generate",
        "a beam search fills up with padding whose id is 0, as with any other",
        "transformers takes 0 for no padding id and fills up with the end of sequence",
        f"{_GENERATE}::test_beams_pad_with_zero",
    ),
    Deviation(
        "generate",
        "inputs_embeds without a length get 20 new tokens, like a prompt of ids",
        "transformers takes the length of the prompt off, and refuses one of 20 tokens",
        f"{_GENERATE}::test_embeddings_get_twenty_new_tokens_like_any_prompt",
    ),
    Deviation(
        "generate",
        "position_ids that are given count on with every new token",
        "transformers gives all new tokens the last given position",
        f"{_GENERATE}::test_given_positions_count_on",
    ),
    Deviation(
        "generate",
        "a length for which the model has no positions is refused before the first step",
        "transformers fails with an index error when it gets there",
        f"{_GENERATE}::test_values_that_are_refused",
    ),
    Deviation(
        "generate",
        "an option that is None has the configuration's value",
        "transformers takes None for off in some options and fails in others",
        f"{_GENERATE}::test_none_is_the_value_of_the_configuration",
    ),
    Deviation(
        "generate",
        "bad_words_ids: a sequence is also ruled out where it would begin with the first token",
        "transformers compares only where one token more has been said",
        "tests/generation/test_logits_processors.py::test_a_bad_word_counts_from_its_first_chance",
    ),
    Deviation(
        "pipeline of fill-mask",
        "a target that is not one token of the model is refused",
        "transformers warns, and compares the first piece of it instead",
        f"{_PIPELINES}/test_fill_mask.py::test_targets_that_are_no_token_are_refused",
    ),
    Deviation(
        "pipeline of feature-extraction",
        "in a batch too, a text has a vector for each of its own tokens",
        "transformers adds vectors of padding, as many as the longest text of the batch asks for",
        f"{_PIPELINES}/test_features_and_classes.py::test_no_features_of_padding",
    ),
    Deviation(
        "pipeline of token-classification",
        "scores are Python floats",
        "those of transformers are NumPy's, which json refuses",
        f"{_PIPELINES}/test_token_classification.py::test_scores_can_be_written_as_json",
    ),
    Deviation(
        "pipeline of token-classification",
        "words are those of the tokenizer",
        "transformers takes a token for a part of the word before if its text has another length, "
        "as with soft hyphens and accents of their own",
        f"{_PIPELINES}/test_token_classification.py::test_words_whose_token_has_another_length",
    ),
    Deviation(
        "pipeline of question-answering",
        "an answer that several windows see has the score that it has in the best of them",
        "transformers adds the probabilities up, to more than 1",
        f"{_PIPELINES}/test_question_answering.py::test_an_answer_that_several_windows_see_counts_once",
    ),
    Deviation(
        "pipeline of question-answering",
        "only spans of the context that do not end before they start are answers",
        "transformers fills up with others, of score 0, if more answers are asked for",
        f"{_PIPELINES}/test_question_answering.py::test_spans_that_are_no_answers",
    ),
    Deviation(
        "pipeline of question-answering",
        "a question is cut to max_question_len",
        "transformers does so only with slow tokenizers; with others a long question fails",
        f"{_PIPELINES}/test_question_answering.py::test_a_long_question_is_cut",
    ),
    Deviation(
        "pipeline of question-answering",
        "with a tokenizer that pads at the left, too, answers come from the context alone",
        "transformers lets them come from the question",
        f"{_PIPELINES}/test_question_answering.py"
        "::test_a_tokenizer_that_pads_left_has_the_context_first",
    ),
    Deviation(
        "pipeline of text-generation",
        "a prompt is not closed by [SEP], unless add_special_tokens=True",
        "transformers has BERT continue what it has been told is over",
        f"{_PIPELINES}/test_text_generation.py::test_a_prompt_is_not_closed",
    ),
    Deviation(
        "pipeline of text-generation",
        "max_length counts if it is given",
        "in transformers the pipeline's own max_new_tokens of 256 wins over it",
        f"{_PIPELINES}/test_text_generation.py::test_max_length_counts",
    ),
    Deviation(
        "checkpoints of Megatron-LM",
        "the layers may come in any order, and a tensor that is missing or unknown is an error",
        "transformers' converter stops at the first name that is of no layer; the rest is lost",
        f"{_MEGATRON}::test_the_order_of_the_names_means_nothing",
    ),
    Deviation(
        "checkpoints of Megatron-LM",
        "embeddings and the bias of the prediction are cut to one vocabulary size",
        "transformers' converter cuts the embeddings alone, and its result does not load",
        f"{_MEGATRON}::test_a_padded_vocabulary_is_cut_everywhere",
    ),
    Deviation(
        "checkpoints of Megatron-LM",
        "a checkpoint_version that was never released is refused",
        "transformers' converter takes the order of the rows for that of version 0",
        f"{_MEGATRON}::test_unknown_versions",
    ),
    Deviation(
        "NemotronConfig",
        "num_key_value_heads=None means as many as num_attention_heads",
        "so it is documented; transformers fails when the model is made, its default included",
        f"{_NEMOTRON}::test_the_defaults_are_those_of_the_documents",
    ),
    Deviation(
        "NemotronConfig",
        "rope_percent, rope_percentage and rotary_percentage are taken for partial_rotary_factor, "
        "and spellings that are not known are refused",
        "transformers keeps them as attributes without effect, and turns one half",
        f"{_NEMOTRON}::test_three_spellings_of_one_share",
    ),
    Deviation(
        "NemotronModel",
        "a partial_rotary_factor that turns an odd number of features is refused",
        "transformers silently turns one more, with frequencies of a width that is not used; "
        'reference="transformers" does so too',
        f"{_NEMOTRON}::test_an_odd_share_is_refused_unless_transformers_is_to_be_followed",
    ),
    Deviation(
        "NemotronModel",
        "past_key_values may be a tuple, and is one if none was given, as the documents have it",
        "transformers fails for a tuple, and always returns a cache object",
        "tests/models/test_nemotron_cache.py::test_a_tuple_is_not_changed_and_a_cache_is",
    ),
    Deviation(
        "NemotronModel",
        "an attention_mask of another length than the cache and the new tokens is refused",
        "transformers cuts one that is too long, and takes what one that is too short lacks for "
        "tokens that may be seen",
        "tests/models/test_nemotron_cache.py::test_wrong_arguments_are_refused_by_name",
    ),
)
